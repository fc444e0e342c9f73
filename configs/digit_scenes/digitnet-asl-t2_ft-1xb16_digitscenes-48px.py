_base_ = './digitnet-ce_ft-1xb16_digitscenes-48px.py'

# focusing and margin together with the values of Table 2, the best on MS-COCO
model = dict(head=dict(loss=dict(_delete_=True, type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05)))
