_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# one sigmoid per class; the loss takes the class indices of LinearClsHead directly
model = dict(head=dict(loss=dict(_delete_=True, type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=0.0, clip=0.0)))
param_scheduler = dict(eta_max=1e-2)  # tuned; with 3e-3, four epochs are too few for the rare classes
