from tests.simulation.test_market_decisions import live
from collections import Counter
for seed in (1,2,3):
    m=live(seed,40); print(Counter(w.split()[0] for _,_,w in m.log), dict(m.reasons))
