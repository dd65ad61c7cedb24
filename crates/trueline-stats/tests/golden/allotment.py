# Golden numbers of tests/allotment: the probability that each of several Beta variables is the largest, by scipy's adaptive
# quadrature at high precision; and the arms' intervals written out with arrays. numpy 2.4.6, scipy 1.17.1.
import numpy as np
from scipy import integrate, stats

for arms in ([(1, 3), (2, 2)], [(30, 70), (45, 60), (3, 4)], [(0, 0), (900, 100), (899, 101), (880, 120)],
             [(50_000, 950_000), (50_300, 949_700)], [(0, 1_000), (1, 1_000), (0.5, 300.5)]):
    laws = [stats.beta(1 + s, 1 + f) for s, f in arms]
    points = sorted({float(q) for law in laws for q in law.ppf([1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-6, 1 - 1e-12])})
    out = []
    for i, law in enumerate(laws):
        def f(x):
            return law.pdf(x) * np.prod([other.cdf(x) for j, other in enumerate(laws) if j != i])
        edges = [0.0, *points, 1.0]
        out.append(sum(integrate.quad(f, a, b, epsabs=1e-14, epsrel=1e-13, limit=500)[0] for a, b in zip(edges, edges[1:])))
    print(arms, [repr(float(p)) for p in out])

arm = np.array([0, 1, 1, 0, 1, 1]); x = np.array([1.0, 0.0, 1.0, 0.5, 0.25, 1.0]); alpha = 0.05
p = np.array([[0.5, 0.5]] * 3 + [[0.2, 0.8]] * 3)
t = np.arange(1, 7); log_term = np.log(2 / (alpha / 2)); parts = []
for a in (0, 1):
    own = arm == a
    drawn = np.concatenate([[0], np.cumsum(own)[:-1]]); total = np.concatenate([[0.0], np.cumsum(own * x)[:-1]])
    m = (0.5 + total) / (drawn + 1); z = m + own * (x - m) / p[:, a]; r = 1 / p[:, a]
    running = (0.5 + np.cumsum(z)) / (t + 1)
    squares = np.concatenate([[0.0], np.cumsum((z - running) ** 2)[:-1]]); v = (0.5 + squares) / t
    parts.append((m, z, r, np.minimum(np.sqrt(2 * log_term / (v * t * np.log(t + 1))), 0.5 / r)))
lam = np.minimum(parts[0][3], parts[1][3])
for a, (m, z, r, _) in enumerate(parts):
    psi = (-np.log1p(-r * lam) - r * lam) / r**2
    c = np.sum(lam * z) / np.sum(lam); w = (log_term + np.sum((z - m) ** 2 * psi)) / np.sum(lam)
    print("arm", a, repr(float(c)), repr(float(w)))
