"""Challenges: what they ask, how an answer is called, what it is worth, and how a class is graded.

One answer
    names         the challenges by number
    boundary      values as bytes: JSON and arrays, with caps; nothing else crosses
    challenge     what a challenge is: parts, inputs from a seed, measurements, bands, limits
    challenge_NN  the challenges; calibration_NN says what known contestants score in them,
                  orders_05 is what customers say, pieces_06 what the exam gives and takes
    received      what comes from an answer, checked; provenance says what latents are made of
    callers       how an answer is called: in this process, for a quick look
    memory        how much a process and what it started hold
    process       how it is called in another process, and what may go wrong with that
    worker        the other process, which runs the answers and nothing of ours
    shown         what of the course the answers see there
    notebooks     answer cells, taken by their id
    verify        calls, measures and turns bands into points

A class
    submissions   the notebooks that were handed in
    sandbox       where answers run; seccomp, its filter of system calls; probe tries to get out
    grader        grades one submission
    cohort        grades all of them, here or on a Dask cluster
    attempts      what is kept of a submission; gradebook keeps it; policy makes grades of it
    reports       pages for learners and instructors
    similar       answers that are nearly the same
    exports       for other systems; people, whom they call what
"""
