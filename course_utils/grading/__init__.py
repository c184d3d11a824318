"""Grading: how an answer is called, where it runs, and how a class is graded.

    answers       one answer: taken from its notebook, called in another process, measured
    sandbox       where answers of others run
    cohort        many submissions, what is kept of them, and grades
    reports       pages, exports, and answers that are nearly the same

What is asked stands in `course_utils.challenges`.
"""
