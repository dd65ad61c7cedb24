# Golden numbers of tests/drift_golden.rs that are not in the shared reference. numpy 2.4.6, scipy 1.17.1.
import numpy as np
from scipy import stats
f = lambda x: repr(float(x))
print("const KOLMOGOROV: [(u64, f64, f64, f64); 13] = [")
for n, d, tol in ((10, 0.06, 1e-12), (10, 0.95, 1e-12), (50, 0.6, 1e-11), (50, 0.1, 1e-12), (50, 0.2, 1e-11), (50, 0.4, 1e-12), (1000, 0.0008, 1e-11), (1000, 0.02, 1e-12),
                  (5739, 0.012, 1e-11), (5739, 0.0177, 1e-12), (100000, 0.003, 1e-9), (3_000_000, 0.0004, 1e-9), (1000, 0.1, 1e-12)):
    print(f"    ({n}, {d}, {f(stats.kstwo.sf(d, n))}, {tol:g}),")
print("];")
c = stats.chisquare([22, 19, 9], np.array([50, 30, 20]) * 0.5); t = stats.chi2_contingency([[50, 30, 20], [22, 19, 9]], correction=False)
print("const CHI_SQUARE: [f64; 4] = [%s];" % ", ".join(map(f, (c.statistic, c.pvalue, t.statistic, t.pvalue))))
num = lambda n, a, s: np.array([((i * a) % 10007) / 10007 * 10 + s for i in range(n)])
print("const KS_EXACT: [(u64, u64, f64); 5] = [")
for n, m in ((7, 5), (300, 300), (1000, 900), (20, 2000), (6000, 6000)):
    print(f"    ({n}, {m}, {f(stats.ks_2samp(num(n, 7919, 0), num(m, 104729, 1.5), method='exact').pvalue)}),")
print("];")
