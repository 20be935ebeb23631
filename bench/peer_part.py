"""diffusers' or transformers' network of a model folder, run on request: what bench/peers times as the peer.

Usage: peer_part.py CALL NETWORK_FOLDER INPUTS.safetensors DTYPE THREADS     CALL: a key of shapes.CALLS
       peer_part.py product COUNT - DTYPE THREADS     COUNT products of two matrices of 2048x2048 a run
The same conversation as bench/part.cpp, and "compare A B", which answers {"difference"}: the norm of A - B over that of B.
"""

import json
import pathlib
import resource
import sys
import time

import torch


def make_run(call, folder, inputs_file, dtype):
    if call == "product":
        a, b = (torch.randn(2048, 2048, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1))
        return lambda: [a @ b for _ in range(int(folder))][-1]
    import diffusers
    import safetensors.torch
    import transformers

    import shapes
    classes = {"transformer": diffusers.WanTransformer3DModel, "vae": diffusers.AutoencoderKLWan, "kl": diffusers.AutoencoderKL,
               "text_encoder": transformers.UMT5EncoderModel, "dit": diffusers.DiTTransformer2DModel}
    part, forward = shapes.CALLS[call]
    model = classes[part].from_pretrained(pathlib.Path(folder), torch_dtype=dtype).eval()
    inputs = {name: value.to(dtype) if value.dtype == torch.bfloat16 else value
              for name, value in safetensors.torch.load_file(inputs_file).items()}
    return lambda: forward(model, inputs)


def compare(ours, peer):
    import safetensors.torch
    a, b = (safetensors.torch.load_file(path)["result"].double() for path in (ours, peer))
    return float((a - b).norm() / b.norm())


def answer(**values):
    print(json.dumps(values), flush=True)


def main():
    call, folder, inputs_file, dtype, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    result = None
    with torch.inference_mode():
        run = make_run(call, folder, inputs_file, {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype])
        answer(ready=True)
        for line in sys.stdin:
            words = line.split()
            if words[0] == "quit":
                break
            if words[0] == "save":
                import safetensors.torch
                safetensors.torch.save_file({"result": result.float().contiguous()}, words[1])
                answer(saved=True)
                continue
            if words[0] == "compare":
                answer(difference=compare(words[1], words[2]))
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            result = run()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            answer(seconds=wall, cpu_seconds=cpu)
    answer(peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
