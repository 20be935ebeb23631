"""The Markdown of what bench/gpu/run measured."""

import report

NAMES = {"softmax": "softmax", "mhla": "MHLA"}
PEERS = {"diffusers": "diffusers, softmax", "floor": "PyTorch, products and SDPA alone"}


def of_part(found, tokens, label):
    return next((entry for entry in found["parts"] if entry["tokens"] == tokens and entry["label"] == label), None)


def least(entry):
    return report.least(entry, "seconds") if entry else None


def times(numerator, denominator):
    return report.shown(numerator / denominator if numerator and denominator else None, "{:.2f}x")


def row(found, entry):
    """One line: what a forward took, beside the rate of the product, tessera's softmax and diffusers."""
    label = entry["label"]
    if "error" in entry:
        return [label, f"failed: {entry['error']}"] + [""] * 6
    rate = report.rate(found["product"], found["product"], "seconds")
    seconds, own = least(entry), entry["flops"] / least(entry)
    softmax = least(of_part(found, entry["tokens"], "tessera, softmax"))
    diffusers = least(of_part(found, entry["tokens"], PEERS["diffusers"]))
    return [label, f"{1e3 * seconds:.2f} / {1e3 * report.middle(entry, 'seconds'):.2f}",
            report.shown(entry.get("launch_seconds"), "{:.2f}", 1e3), f"{1e-12 * own:.1f}",
            report.shown(rate and own / rate, "{:.1%}"), report.shown(entry.get("activation_bytes"), "{:.2f}", 2.0**-30),
            times(softmax, seconds), times(diffusers, seconds)]


def parity_row(figure):
    error = "not finite" if figure["error"] is None else f"{figure['error']:.1e}"
    return [figure["fixture"], figure["dtype"], figure["kernels"], error, f"{figure['bound']:.0e}", "yes" if figure["within"] else "**no**"]


def machine(found):
    lines = [f"{name}: {value}" for name, value in found["machine"].items()]
    lines += [f"{name.replace('_', ' ')}: {'on' if on else 'off'}" for name, on in found["settings"].items()]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def markdown(found):
    text = "# One card\n\n" + machine(found)
    text += "\n## Parity\n\n" + report.table(["fixture", "dtype", "kernels", "max error / max", "bound", "within"],
                                           map(parity_row, found["parity"]))
    text += f"\n## A forward pass of Wan 1.3B, {found['layers']} of 30 layers, bf16, random weights\n\n"
    product = found["product"]
    if "error" in product:
        text += f"The product failed: {product['error']}\n"
    else:
        text += (f"A bf16 product of {product['rows']} rows: {1e-12 * product['flops'] / least(product):.1f} TFLOP/s, its rate in every "
                 "\"of product\" below.\n")
    for tokens in sorted({entry["tokens"] for entry in found["parts"]}):
        rows = [row(found, entry) for entry in found["parts"] if entry["tokens"] == tokens]
        text += f"\n### {tokens:,} tokens\n\n" + report.table(
            ["", "ms, min / median", "launch ms", "TFLOP/s", "of product", "activations GiB", "speed, softmax = 1", "speed, diffusers = 1"],
            rows)
    return text
