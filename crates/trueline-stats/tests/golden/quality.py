# Golden numbers of tests/quality_golden.rs. numpy 2.4.6, scikit-learn 1.9.1; DeLong by its definition, pair by pair.
import numpy as np
from sklearn import metrics as m
from sklearn.calibration import calibration_curve
n = 700
u = lambda i, a: ((i * a) % 10007) / 10007
s = np.array([np.floor(u(i, 7919) * 50) / 50 for i in range(n)])  # many ties, some exact zeros
y = np.array([1 if u(i, 104729) < 0.15 + 0.6 * s[i] else 0 for i in range(n)])
p = (s >= 0.5).astype(int)
f = lambda x: repr(float(x))
pos, neg = s[y == 1], s[y == 0]
psi = (pos[:, None] > neg[None]) + 0.5 * (pos[:, None] == neg[None])
se = np.sqrt(psi.mean(1).var(ddof=1) / len(pos) + psi.mean(0).var(ddof=1) / len(neg))
share, mean = calibration_curve(y, s, n_bins=10); count = np.histogram(s, np.linspace(0, 1, 11))[0]
idx = np.minimum((s * 10).astype(int), 9)
ece = sum(abs(s[idx == b].mean() - y[idx == b].mean()) * (idx == b).sum() / n for b in range(10))
for name, value in (("AUC", m.roc_auc_score(y, s)), ("DELONG", se), ("LOG_LOSS", m.log_loss(y, np.clip(s, 1e-15, 1 - 1e-15))), ("BRIER", m.brier_score_loss(y, s)),
                    ("ACCURACY", m.accuracy_score(y, p)), ("PRECISION", m.precision_score(y, p)), ("RECALL", m.recall_score(y, p)), ("ECE", ece)):
    print(f"const {name}: f64 = {f(value)};")
print("const CONFUSION: (u64, u64, u64, u64) = (%d, %d, %d, %d);" % tuple(m.confusion_matrix(y, p).ravel()[[3, 1, 0, 2]]))
