_base_ = './tresnet-l-fl_1xb128_coco14-448px.py'

# linear weighting: positives by alpha, negatives by 1 - alpha (Table 2). The paper searched 0.5 ... 0.95 in steps of
# 0.05 and does not say which was best; 0.6 is our choice
model = dict(head=dict(loss=dict(alpha=0.6)))
