"""One answer, from a notebook's cells to points.

notebooks     answer cells, taken by their id
boundary      values as bytes: JSON and arrays, with caps; nothing else crosses
callers       how an answer is called: in this process, for a quick look
process       how it is called in another process, and what may go wrong with that
worker        the other process, which runs the answers and nothing of ours
memory        how much a process and what it started hold
visibility    what of the course the answers see there
verify        calls, measures and turns bands into points
"""
