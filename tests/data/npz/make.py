"""Makes the files that tests/weights/npz_test.cpp and tests/metrics/picture_array_test.cpp read. Run in this folder: python3 make.py (needs numpy)."""
import io
import zipfile

import numpy as np

x = np.arange(24).reshape(2, 3, 4)
arrays = {n: x.astype(n) for n in ("f2", "f4", "f8", "u1", "i1", "i2", "i4", "i8")}
arrays["f8_fortran"] = np.asfortranarray(x.astype("f8"))
arrays["f4_big"] = x.astype(">f4")
arrays["i8_big_fortran"] = np.asfortranarray(x.astype(">i8"))
arrays["text"] = np.array("caf\u00e9 au lait")
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)


def npy(array, version):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


with zipfile.ZipFile("zip64.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    for i, (name, array) in enumerate(arrays.items()):
        with archive.open(name + ".npy", "w", force_zip64=True) as entry:
            entry.write(npy(array, [(1, 0), (2, 0), (3, 0)][i % 3]))

np.save("f4_big.npy", x.astype(">f4"))
np.save("u1_fortran.npy", np.asfortranarray(x.astype("u1")))
pictures = np.arange(24, dtype="u1").reshape(2, 2, 2, 3)
np.save("pictures.npy", pictures)
np.save("pictures_fortran.npy", np.asfortranarray(pictures))
np.save("pictures_float_big.npy", (pictures / 255).astype(">f4"))
np.save("objects.npy", np.array([{"a": 1}, None], dtype=object))
np.savez("pickled.npz", objects=np.array([{"a": 1}, None], dtype=object))

with zipfile.ZipFile("bomb_header.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000000,), }\n"
    archive.writestr("mu.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 1000)

with zipfile.ZipFile("not_npy.npz", "w") as archive:
    archive.writestr("mu.npy", b"three numbers: 1 2 3")
