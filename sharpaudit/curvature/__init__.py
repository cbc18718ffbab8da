"""How does the loss curve around a checkpoint? One operator over a frozen probe set, and everything that is asked of it.

`objective` is the loss as a function of the parameters, with its gradient, Hessian and Gauss-Newton products. `lanczos` and
`trace` ask for eigenvalues and traces of any symmetric operator. `perturbation`, `fisher_rao` and `relative_flatness` are the
sharpness and flatness measures of the literature. `head` finds the last linear layer.
"""
