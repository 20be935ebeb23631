"""diffusers' or transformers' network of a model folder, run on request: what bench/peers times as the peer.

Usage: peer_part.py CALL NETWORK_FOLDER INPUTS.safetensors DTYPE THREADS     CALL: a key of shapes.CALLS
       peer_part.py product COUNT - DTYPE THREADS     COUNT products of two matrices of 2048x2048 a run
The conversation of bench/serve.h, and "compare A B", which answers {"difference"}: the norm of A - B over that of B.
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


def timed(run, wait, least_seconds):
    """As in bench/serve.cpp: the mean of runs until so many seconds have passed."""
    wait()
    wall, cpu, runs, launched = time.perf_counter(), time.process_time(), 0, 0.0
    while not runs or time.perf_counter() - wall < least_seconds:
        start = time.perf_counter()
        result = run()
        launched += time.perf_counter() - start
        wait()
        runs += 1
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return result, {"seconds": wall / runs, "cpu_seconds": cpu / runs, "launch_seconds": launched / runs}


def serve(run, wait=lambda: None, least_seconds=0.0, begin=lambda: None, more=lambda: {}):
    """The conversation of bench/serve.h. `run(NAME)` computes, `wait()` waits for it; `begin()` is called before a request is
    answered, and `more()` adds to the answer."""
    result = None
    answer(ready=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "quit":
            break
        try:
            if words[0] == "save":
                import safetensors.torch
                safetensors.torch.save_file({"result": result.float().contiguous()}, words[1])
                answer(saved=True)
            elif words[0] == "compare":
                answer(difference=compare(words[1], words[2]))
            else:
                result = None
                begin()
                result, found = timed(lambda: run(words[1] if len(words) > 1 else ""), wait, least_seconds)
                answer(**found, **more())
        except Exception as error:  # whatever it is, the next line may be answered
            answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    answer(peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main():
    call, folder, inputs_file, dtype, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        run = make_run(call, folder, inputs_file, {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype])
        serve(lambda _: run())


if __name__ == "__main__":
    main()
