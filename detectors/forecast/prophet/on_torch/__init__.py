"""The linear, additive fit and its forecast in torch: for a GPU, where one series a thread is slow.

The compiled path takes one series after another: lists of active knots, small Cholesky factors
that grow and shrink, early exits. On a GPU that is thousands of threads that wait for the one with
the longest list. Here all series of a chunk take each step together, as operations on
(N, K, K) arrays: the active set is a mask, a knot enters or leaves by a rank-one sweep of a tableau
(``path``), the final solves are masked Cholesky factors (``polish``), and who is done is put aside.
The path walked and the conditions that hold at its end are the same, so both arrive at the same
optimum; only the rounding differs.

Of the detectors nothing outside this package imports torch; ``device`` does when it is asked to.
"""
