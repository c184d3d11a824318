"""Challenges: what they ask, and how their bands were measured.

    declare       what a challenge is: parts, inputs from a seed, measurements, bands, limits
    names         the challenges by number
    validation    what comes from an answer, checked
    provenance    what latents are made of
    network       the shipped network, the judge's scene, finished pictures
    calibrate     what known contestants score

A folder is a challenge: `__init__` says its number and title, `ask` declares it, `contestants` are
answers of known quality. What else is there belongs to it alone.
"""
