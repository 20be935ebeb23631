"""Writes tests/data/webdataset: one set as a zip archive, stored and deflated, and as a tar archive in pax form.
Needs nothing but Python."""

import io
import pathlib
import tarfile
import zipfile

folder = pathlib.Path(__file__).parent / "webdataset"
folder.mkdir(exist_ok=True)
LONG = "part/" + "n" * 120
FILES = {
    "part/001.jpg": b"not truly a picture",
    "part/001.json": b'{"caption": "the first", "width": 4}',
    f"{LONG}.mp4": b"not truly a video, " * 40,
    f"{LONG}.txt": b"the second\n",
}

with zipfile.ZipFile(folder / "set.zip", "w") as archive:
    for i, (name, data) in enumerate(FILES.items()):
        entry = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
        archive.writestr(entry, data, zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED)

with tarfile.open(folder / "pax.tar", "w", format=tarfile.PAX_FORMAT) as archive:
    for name, data in FILES.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
