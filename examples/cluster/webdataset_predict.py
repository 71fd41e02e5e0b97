"""Names what happens in the videos of tar shards: their bytes are read from the tar, nothing is unpacked.

python webdataset_predict.py "shards/{000..127}.tar" answers/ --part 3/16
Needs: pip install webdataset. Each shard has a file of answers of its own; one that has it is left out, so
that a part may be started again after whatever ended it.
"""

import argparse
import json
from pathlib import Path

import webdataset as wds

from slowfast_zoo import BatchPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards")
    parser.add_argument("answers", type=Path)
    parser.add_argument("--model", default="slowfast_tiny")
    parser.add_argument("--ending", default="mp4", help="of the videos in the shards")
    parser.add_argument("--part", default="1/1", help="of the shards, such as 3/16")
    options = parser.parse_args()

    number, count = map(int, options.part.split("/"))
    if not 1 <= number <= count:
        parser.error(f"--part is {options.part}; parts are counted from 1, such as 3/16")
    shards = wds.shardlists.expand_urls(options.shards)
    if len({Path(shard).stem for shard in shards}) < len(shards):
        parser.error(
            "two shards have the same name, and so would their answers: give each a folder of its own"
        )
    options.answers.mkdir(parents=True, exist_ok=True)
    predictor = BatchPredictor(options.model, column=options.ending, keep=["__key__"])
    for shard in shards[number - 1 :: count]:
        target = options.answers / f"{Path(shard).stem}.jsonl"
        if target.exists():
            continue
        samples = wds.WebDataset(shard, shardshuffle=False).to_tuple("__key__", options.ending)
        part = target.with_suffix(".part")
        with part.open("w", encoding="utf-8") as lines:
            for batch in samples.batched(8, collation_fn=list):
                keys, contents = zip(*batch, strict=True)
                columns = predictor({"__key__": keys, options.ending: contents})
                for key, label, error in zip(keys, columns["label_1"], columns["error"], strict=True):
                    lines.write(json.dumps({"key": key, "label": label, "error": error}) + "\n")
        part.replace(target)
        print(f"{target} is written", flush=True)


if __name__ == "__main__":
    main()
