"""Makes the pickles of tests/weights/pickle_file_test.cpp and tests/metrics/pickled_statistics_test.cpp. Run in this folder:
python3 make.py (needs numpy 2)."""
import os
import pickle

import numpy as np


def write(name, value, protocol=4):
    with open(name, "wb") as file:
        pickle.dump(value, file, protocol=protocol)


x = np.arange(6.0).reshape(2, 3)
for protocol in (2, 3, 4, 5):
    arrays = {"c": x, "f": np.asfortranarray(x), "strided": np.repeat(x, 2, axis=1)[:, ::2], "f4": x.astype("f4"),
              "vector": x[0], "scalar": np.int64(7), "number": 7}
    write(f"arrays_{protocol}.pkl", arrays, protocol)
# What NumPy 1 writes: its modules have other names.
for protocol in (2, 5):
    data = pickle.dumps({"c": x, "f": np.asfortranarray(x)}, protocol=protocol)
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        data = data.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        data = data.replace(b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old)
    if protocol == 5:  # the one frame is a byte shorter for each name
        data = data[:3] + (len(data) - 11).to_bytes(8, "little") + data[11:]
    assert pickle.loads(data)["f"].tolist() == x.tolist()
    with open(f"numpy1_{protocol}.pkl", "wb") as file:
        file.write(data)

fid = {"mu": np.array([1.0, 2.0, 3.0]), "sigma": np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 2.0]])}
dino = {"mu": np.array([5.0, 6.0]), "sigma": 2 * np.eye(2)}
write("edm2.pkl", {"fid": fid, "fd_dinov2": dino})
write("two_others.pkl", {"fd_clip": dino, "fd_dinov2": dino})
write("flat.pkl", {"mu": fid["mu"], "sigma": fid["sigma"].astype("f4")}, 2)
# StyleGAN's FeatureStats of the 4 rows (0, 0), (2, 0), (0, 4), (2, 4).
rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
sums = {"capture_all": False, "capture_mean_cov": True, "max_items": 4, "num_items": 4, "num_features": 2,
        "all_features": None, "raw_mean": rows.sum(0), "raw_cov": rows.T @ rows}
write("stylegan.pkl", sums)
write("stylegan_features.pkl", dict(sums, raw_mean=None, raw_cov=None, all_features=[rows.astype("f4")]))
write("wrong_length.pkl", {"mu": fid["mu"], "sigma": np.eye(4)})
write("objects.pkl", {"mu": np.array([1, None], dtype=object), "sigma": np.eye(2)})
write("half.pkl", {"mu": np.ones(2, "f2"), "sigma": np.eye(2)})
write("no_statistics.pkl", {"weights": x})


class Evil:
    def __reduce__(self):
        return os.system, ("echo run",)


write("evil.pkl", {"mu": Evil(), "sigma": np.eye(2)})
