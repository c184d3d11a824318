"""A class: many submissions at once.

submissions   the notebooks that were handed in
grader        grades one submission
run           grades all of them, here or on a Dask cluster
attempts      what is kept of a submission that was graded
gradebook     keeps it
policy        makes grades of it
"""
