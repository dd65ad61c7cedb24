# Golden numbers of src/sequential/means.rs and src/special.rs. numpy 2.4.6, scipy 1.17.1.
import numpy as np
from scipy import special, stats
x = np.array([1.0, 0.0, 1.0, 1.0, 0.25, 0.5]); a = 0.05; t = np.arange(1, len(x) + 1)
# Waudby-Smith & Ramdas 2023, Theorem 2, written out with arrays.
mu = (0.5 + np.cumsum(x)) / (t + 1); mu_prev = np.concatenate([[0.5], mu[:-1]])
var = (0.25 + np.cumsum((x - mu) ** 2)) / (t + 1); var_prev = np.concatenate([[0.25], var[:-1]])
lam = np.minimum(0.5, np.sqrt(2 * np.log(2 / a) / (var_prev * t * np.log(1 + t))))
v = 4 * (x - mu_prev) ** 2; psi = (-np.log(1 - lam) - lam) / 4
c = np.sum(lam * x) / np.sum(lam); w = (np.log(2 / a) + np.sum(v * psi)) / np.sum(lam)
print("eb", repr(float(c - w)), repr(float(c + w)))
n = 6; rho2 = (-2 * np.log(a) + np.log(-2 * np.log(a) + 1)) / 100
print("asymptotic", repr(float(x.mean() + x.std() * np.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1) / a)))))
print("lngamma", [repr(float(special.gammaln(z))) for z in (0.5, 3.7, 1e-3, 12345.6)])
print("gammaincc", [(s, z, repr(float(special.gammaincc(s, z)))) for s, z in ((0.5, 0.3), (4.5, 2.0), (4.5, 30.0), (100, 90), (1000, 1200))])
print("lnbetainc", [(p, q, z, repr(float(np.log(special.betainc(p, q, z)))), repr(float(np.log(special.betaincc(p, q, z))))) for p, q, z in ((2, 3, 0.4), (0.5, 0.5, 0.01), (120.5, 2000, 0.02), (99, 1, 0.99), (5000, 5000, 0.52))])
print("chi2.isf", [(u, d, repr(float(stats.chi2.isf(u, d)))) for u, d in ((0.05, 9), (0.01, 9), (0.001, 1), (0.5, 30), (1e-10, 4))])
print("norm.sf", [(z, repr(float(stats.norm.sf(z)))) for z in (0.0, 1.0, 1.959963984540054, 6.0, 20.0, -2.0)])
print("norm.isf", [(u, repr(float(stats.norm.isf(u)))) for u in (0.025, 0.5, 0.9, 1e-12)])
print("binom.pmf", [(k, m, p, repr(float(stats.binom.pmf(k, m, p)))) for k, m, p in ((3, 10, 0.3), (0, 10, 0.3), (500, 1000, 0.5), (5600, 5739, 0.98), (40, 5739, 0.01))])
