"""Whether a reply gives the right answer: one grader for mathematics, one for options, one for programs."""
