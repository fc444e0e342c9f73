_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# the other reading of appendix G: the multi-label loss with the values of Table 2 on a single-label head
model = dict(head=dict(loss=dict(_delete_=True, type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05)))
