"""`export`: a PyTorch encoder-decoder as a program with its weights, which runs without transformers and its classes.

    tracing/      the class's own code, traced once: `encode` and `step`; imports torch
    generation/   greedy, sampling and beam search around the two, written once in PyTorch; imports torch
    program.py    what a traced program is: graphs, names, and which weight is which tensor of the checkpoint
    formats/      one format a file

Everything that imports torch runs in a child process: `python -m ckptconv.artefacts JOB`.
"""
