from emo_serve.engine.host.cpus import usable_cores
from emo_serve.process.worker import with_share_of_cores
from emo_serve.settings import Batching, SessionOptions, Settings


def test_threads_that_follow_the_cores_follow_the_share_of_the_worker() -> None:
    cores = usable_cores()
    alone = with_share_of_cores(Settings(workers=1))
    assert (alone.decode_threads, alone.batching.instances) == (cores, cores)
    one_of_many = with_share_of_cores(Settings(workers=256))
    assert one_of_many.decode_threads == one_of_many.batching.instances == -(-cores // 256)


def test_threads_that_were_asked_for_are_left_alone() -> None:
    settings = Settings(
        workers=4,
        decode_threads=3,
        batching=Batching(instances=5, max_batch_size=7),
        session=SessionOptions(intra_op_threads=2),
    )
    assert with_share_of_cores(settings) == settings
