"""How does the loss curve around a checkpoint? One operator over a frozen probe set, and everything that is asked of it.

- `objective`: the loss as a function of the parameters, with its gradient, Hessian and Gauss-Newton products
- `shards`, `threads`: sums over examples in bounded memory, shared between cores
- `network`: what makes a module such a function, and refuses one that is none
- `krylov`: eigenvalues, traces and densities of any symmetric operator
- `gauss_newton`: the Gauss-Newton matrix whole, and the criteria made of it
- `perturbations`: the loss at other weights, drawn or searched for
- `linearity`: whether the logits are piecewise linear in every weight
- `fisher_rao`, `relative_flatness`: measures that rescaling leaves alone; `reparametrisation` does the rescaling
- `draws`, `estimates`: random vectors by number, and what an estimator returns
"""
