_base_ = './digitnet-ce_ft-1xb16_digitscenes-48px.py'

# linear weighting: positives by alpha, negatives by 1 - alpha; 0.6 was the best of 0.6, 0.75 and 0.9 on validation
model = dict(head=dict(loss=dict(_delete_=True, type='FocalLoss', gamma=2.0, alpha=0.6, loss_weight=2.0)))
