"""Makes tests/data/fixtures/protocols: picture files of many kinds with the bytes that Pillow decodes, samples of what three tools'
resizes make of them, and scores of two small sets by those tools. Run: python make_protocols.py OUTPUT_FOLDER WEIGHTS_FOLDER
(numpy, Pillow 13, opencv, torch 2.11, pytorch-fid 0.3.0, torch-fidelity 0.4.0, clean-fid 0.1.35; WEIGHTS_FOLDER as
bench/make_weights.py fills it)."""

import json
import pathlib
import sys

import cv2
import numpy as np
import torch
import torch_fidelity
from cleanfid.resize import build_resizer
from PIL import Image
from pytorch_fid import fid_score, inception
from safetensors.torch import save_file
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

STEP = 13  # every 13th row and column of the 299x299 pictures is kept


def scene(rng, height, width, channels=3):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(2, 25, channels) * (x[..., None] * rng.normal() + y[..., None] * rng.normal()) + c)
             for c in range(4)]
    return np.clip(128 + 45 * sum(waves) + rng.normal(0, 6, (height, width, channels)), 0, 255).astype(np.uint8)


def write_pictures(folder, rng):
    rgb = Image.fromarray(scene(rng, 37, 53))
    large = Image.fromarray(scene(rng, 311, 350))
    rgb.save(folder / "rgb_420.jpg", quality=88, subsampling=2)
    rgb.save(folder / "rgb_422.jpg", quality=80, subsampling=1)
    rgb.save(folder / "rgb_444.jpeg", quality=95, subsampling=0)
    rgb.save(folder / "progressive.jpg", quality=85, progressive=True)
    large.save(folder / "large.jpg", quality=75)
    rgb.convert("L").save(folder / "grey.jpg")
    rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.save(folder / "rgb.png")
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("1").save(folder / "one_bit.png")
    rgb.quantize(7).save(folder / "palette.png", transparency=2)
    rgb.quantize(3).save(folder / "palette_2bit.png", bits=2)
    alpha = scene(rng, 37, 53, 1)
    Image.fromarray(np.concatenate([np.asarray(rgb), alpha], 2)).save(folder / "rgba.png")
    Image.fromarray(np.concatenate([np.asarray(rgb.convert("L"))[..., None], alpha], 2), "LA").save(folder / "grey_alpha.png")
    deep = (scene(rng, 37, 53).astype(np.uint16) * 257 + rng.integers(0, 200, (37, 53, 3))).astype(np.uint16)
    cv2.imwrite(str(folder / "rgb16.png"), deep)
    Image.fromarray(rng.integers(0, 600, (21, 30)).astype(np.uint16)).save(folder / "grey16.png")
    rgb.save(folder / "lossy.webp", quality=80)
    Image.open(folder / "rgba.png").save(folder / "lossless_alpha.webp", lossless=True, exact=True)
    rgb.save(folder / "rgb.bmp")
    rgb.save(folder / "rgb.ppm")
    rgb.convert("L").save(folder / "grey.pgm")
    rgb.save(folder / "rgb.tif")
    rgb.convert("L").save(folder / "grey.tiff")
    Image.fromarray(scene(rng, 1, 1)).save(folder / "single.png")
    Image.fromarray(scene(rng, 299, 299)[:, :, :1].repeat(3, 2)).save(folder / "same_size.jpg", quality=70)


def resized(pixels):
    """The three tools' float pictures in [0, 255], [3, 299, 299] each."""
    chw = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    plain = torch.nn.functional.interpolate(chw.float() / 255, size=(299, 299), mode="bilinear", align_corners=False)
    like_tf = interpolate_bilinear_2d_like_tensorflow1x(chw.float(), size=(299, 299), align_corners=False)
    clean = torch.from_numpy(build_resizer("clean")(pixels)).permute(2, 0, 1)
    return {"pytorch-fid": plain[0] * 255, "torch-fidelity": like_tf[0], "clean": clean}


def clean_fid(sets, model):
    resize = build_resizer("clean")
    sides = []
    for folder in sets:
        pictures = [resize(np.array(Image.open(f).convert("RGB"))) for f in sorted(folder.glob("*"))]
        batch = (torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) - 128) / 128
        with torch.no_grad():
            features = model(batch)[0].flatten(1).double().numpy()
        sides.append((features.mean(0), np.cov(features, rowvar=False)))
    return fid_score.calculate_frechet_distance(*sides[0], *sides[1])


def main():
    out, weights = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    write_pictures(out / "pictures", np.random.default_rng(5))
    tensors, names = {}, []
    for path in sorted((out / "pictures").iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        names.append(path.name)
        tensors[f"decoded.{path.name}"] = torch.from_numpy(pixels.copy())
        for protocol, picture in resized(pixels).items():
            tensors[f"{protocol}.{path.name}"] = picture[:, ::STEP, ::STEP].float().contiguous()
    save_file(tensors, out / "io.safetensors")

    sets = [out / "set_a", out / "set_b"]
    for index, folder in enumerate(sets):
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(20 + index)
        for i in range(14):
            height, width = rng.integers(40, 90, 2)
            picture = Image.fromarray(scene(rng, height, width))
            picture.save(folder / (f"{i:02d}.png" if i % 5 == 0 else f"{i:02d}.jpg"))
    state = torch.load(weights / "pt_inception-2015-12-05-6726825d.pth")
    inception.load_state_dict_from_url = lambda *_, **__: state
    model = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    paths = [str(s) for s in sets]
    fidelity = torch_fidelity.calculate_metrics(
        input1=paths[0], input2=paths[1], cuda=False, fid=True, kid=True, isc=True, prc=True, kid_subset_size=14, batch_size=1,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights / "weights-inception-2015-12-05-6726825d.pth"), verbose=False)
    config = {
        "about": "Pillow's bytes, three tools' resizes and scores; see tests/data/make_protocols.py",
        "pictures": names, "step": STEP, "seed": 12345,
        "fid": {"pytorch-fid": float(fid_score.calculate_fid_given_paths(paths, 1, "cpu", 2048)),
                "torch-fidelity": float(fidelity["frechet_inception_distance"]),
                "clean": float(clean_fid(sets, model))},
        "torch-fidelity": {k: float(v) for k, v in fidelity.items()},
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
