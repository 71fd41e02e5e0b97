"""Adds what a model sees to a Hugging Face dataset of videos; decoding is left to slowfast_zoo.

python datasets_map.py videos/ answers.parquet --model slowfast_r50_4x16x1 --workers 4
Needs: pip install datasets. A second run takes the answers from the cache of datasets.
"""

import argparse

from datasets import Video, load_dataset

from slowfast_zoo import BatchPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", help="a folder; folders inside it name classes")
    parser.add_argument("answers", help="a .parquet file")
    parser.add_argument("--model", default="slowfast_tiny")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    # data_files: else names with a word such as "test" in them would be taken for other parts of the data.
    files = {"data_dir": options.videos, "data_files": "**"}
    dataset = load_dataset("videofolder", **files, split="train")
    dataset = dataset.cast_column("video", Video(decode=False))
    predictor = BatchPredictor(options.model)
    dataset = dataset.map(predictor, batched=True, batch_size=8, num_proc=options.workers)
    dataset.remove_columns("video").to_parquet(options.answers)
    for row in dataset.select(range(min(5, len(dataset)))):
        print(row["source"], row["label_1"] or row["error"])


if __name__ == "__main__":
    main()
