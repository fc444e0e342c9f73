_base_ = './digitnet-ce_ft-1xb16_digitscenes-48px.py'

# probability margin alone, on a symmetric focal loss; 0.4 was the best of 0.2, 0.3 (Table 2) and 0.4 on validation
model = dict(head=dict(loss=dict(_delete_=True, type='mmasl.AsymmetricLoss', gamma_pos=2.0, gamma_neg=2.0, clip=0.4)))
param_scheduler = dict(eta_max=3e-3)
