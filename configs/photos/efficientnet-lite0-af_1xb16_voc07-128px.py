_base_ = './efficientnet-lite0-ce_1xb16_voc07-128px.py'

# asymmetric focusing alone
model = dict(head=dict(loss=dict(gamma_neg=3.0)))
