import numpy as np
from invariants.run import check_step, Checker
from invariants.outcome import *
def test_x():
    L=10
    row=dict(prompt_id=0,turn=0,step=0,committed_len=L,committed_len_after=12,context_token_ids=np.arange(11),
     token_ids=np.array([10,5,6,7]),parents=np.array([0,0,0,1]),depths=np.array([0,1,1,2]),valid=np.ones(4,bool),
     position_ids=np.array([10,11,11,12]),cache_positions=np.arange(10,14),
     visible=np.array([[1,0,0,0],[1,1,0,0],[1,0,1,0],[1,1,0,1]],bool),prefix_visible=np.full(4,10),other_visible=np.zeros(4,int),
     target_token_ids=np.array([5,9,9,9]),accepted_nodes=np.array([1]),final_token_id=9,emitted_token_ids=np.array([5,9]),path_indices=np.array([10,11]))
    for o in check_step(row): print(o)
    assert not [o for o in check_step(row) if isinstance(o, Violated)]
    v=row["visible"]
    for q in range(4):
        for k in range(4):
            w=v.copy(); w[q,k]^=True
            bad=[o for o in check_step({**row,"visible":w}) if isinstance(o,Violated)]
            assert len(bad)==1 and len(bad[0].findings)==1 and bad[0].findings[0].node==q, (q,k,bad)
