_base_ = './digitnet-ce_ft-1xb16_digitscenes-48px.py'

# the paper's focal loss has no alpha; with alpha=0.5 MMPretrain's is half of it
model = dict(head=dict(loss=dict(_delete_=True, type='FocalLoss', gamma=2.0, alpha=0.5, loss_weight=2.0)))
