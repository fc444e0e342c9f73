import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmasl.evaluation import MultiLabelMetric

WORLD = 2


def sample(i):
    generator = torch.Generator().manual_seed(i)
    scores = torch.rand(6, generator=generator)
    return {'pred_score': scores, 'gt_score': torch.randint(-1, 2, (6,), generator=generator)}


def worker(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=WORLD)
    results = []
    for collect_device, collect_dir in (('cpu', f'{folder}/gather'), ('gpu', None)):
        metric = MultiLabelMetric(topk=2, collect_device=collect_device, collect_dir=collect_dir)
        # The sampler deals 21 samples out in turn and repeats the first to fill the last place.
        metric.process(None, [sample(i % 21) for i in range(rank, 22, WORLD)])
        results.append(metric.evaluate(21))
    torch.save(results, f'{folder}/rank{rank}')
    dist.destroy_process_group()


def test_two_processes_report_what_one_does(tmp_path):
    metric = MultiLabelMetric(topk=2)
    metric.process(None, [sample(i) for i in range(21)])
    expected = metric.evaluate(21)
    mp.spawn(worker, (str(tmp_path),), WORLD)
    for rank in range(WORLD):
        assert torch.load(tmp_path / f'rank{rank}') == [expected, expected]
