_base_ = './efficientnet-lite0-ce_1xb16_voc07-128px.py'

# focal loss with linear weighting: positives by alpha, negatives by 1 - alpha
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, alpha=0.6, loss_weight=2.0)))
