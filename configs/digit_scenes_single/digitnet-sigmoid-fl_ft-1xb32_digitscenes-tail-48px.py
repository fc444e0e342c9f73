_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# focal loss over sigmoid probabilities
model = dict(head=dict(loss=dict(_delete_=True, type='mmasl.AsymmetricLoss', gamma_pos=2.0, gamma_neg=2.0, clip=0.0)))
param_scheduler = dict(eta_max=1e-2)  # tuned; with 3e-3, four epochs are too few for the rare classes
