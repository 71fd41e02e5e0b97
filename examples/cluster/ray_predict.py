"""Names what happens in many videos with Ray: actors keep the model; started again, it continues.

python ray_predict.py videos/ answers/ --model slowfast_r50_4x16x1 --actors 8
Needs: pip install "slowfast-zoo[ray]". Every worker sees the videos at the same path. Started again after
whatever ended it, it leaves out the videos that have a row; a broken one has its row, with an error.
"""

import argparse
from pathlib import Path

import pyarrow.parquet as parquet
import ray
from ray.data import ActorPoolStrategy

from slowfast_zoo import BatchPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--model", default="slowfast_tiny")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each actor")
    options = parser.parse_args()

    known = set()
    for file in options.answers.glob("*.parquet"):
        known.update(parquet.read_table(file, columns=["path"])["path"].to_pylist())
    paths = [str(path) for path in sorted(options.videos.rglob("*")) if path.is_file()]
    missing = [path for path in paths if path not in known]
    print(f"{len(paths) - len(missing)} answered before, {len(missing)} to do", flush=True)
    if not missing:
        return

    # Small blocks: each is written as soon as it is answered, and is all that a killed worker loses.
    blocks = max(options.actors, -(-len(missing) // 16))
    rows = ray.data.from_items([{"path": path} for path in missing], override_num_blocks=blocks)
    rows = rows.map_batches(
        BatchPredictor,
        fn_constructor_args=(options.model,),
        fn_constructor_kwargs={"keep": ["path"]},  # "source" is for people: some letters are escaped
        compute=ActorPoolStrategy(size=options.actors),
        num_cpus=options.cpus,
        batch_size=8,
    )
    # Actors hold the processors for as long as they live: writing must not wait for one, nor start many.
    rows.write_parquet(
        str(options.answers),
        mode=ray.data.SaveMode.APPEND,
        ray_remote_args={"num_cpus": 0},
        concurrency=options.actors,
    )


if __name__ == "__main__":
    main()
