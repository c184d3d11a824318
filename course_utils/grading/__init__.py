"""Challenges: what they ask, how an answer is called, and what it is worth.

boundary    values as bytes: JSON and arrays, with caps; nothing else crosses between processes
challenge   what a challenge is: parts, inputs from a seed, measurements, bands, limits
callers     how an answer is called: in this process, or in another one
worker      the other process, which runs the answers and nothing of ours
notebooks   answer cells, taken by their id
verify      calls, measures and turns bands into points
"""
