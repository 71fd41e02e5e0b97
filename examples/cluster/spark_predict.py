"""Names what happens in many videos with Spark: a function on batches, Parquet out, and it can go on.

spark-submit spark_predict.py videos/ answers/ --model slowfast_r50_4x16x1
Needs: pip install "slowfast-zoo[spark]" and Java 17. Executors see the videos at the same path. Started again
after whatever ended it, it leaves out the videos that have a row; a broken one has its row, with an error.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from slowfast_zoo import BatchPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--model", default="slowfast_tiny")
    parser.add_argument(
        "--per-task", type=int, default=16, help="videos that a killed worker has to do again"
    )
    options = parser.parse_args()

    spark = SparkSession.builder.appName("slowfast-zoo").getOrCreate()
    # A batch is what Python gets at once: of videos few, instead of ten thousand.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 8)
    known = set()
    for file in options.answers.glob("part-*.parquet"):
        known.update(row.path for row in spark.read.parquet(str(file)).select("path").collect())
    paths = [str(path) for path in sorted(options.videos.rglob("*")) if path.is_file()]
    missing = [path for path in paths if path not in known]
    print(f"{len(paths) - len(missing)} answered before, {len(missing)} to do", flush=True)

    predictor = BatchPredictor(
        options.model, keep=["path"]
    )  # "source" is for people: some letters are escaped
    schema = "path string, " + predictor.schema

    def answer(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield pd.DataFrame(predictor(batch))

    tasks = -(-len(missing) // options.per_task)
    # A job's files appear when all of it is answered, so that what can be lost is bounded by many jobs.
    for first in range(0, tasks, jobs := max(spark.sparkContext.defaultParallelism, 1)):
        part = missing[first * options.per_task : (first + jobs) * options.per_task]
        rows = spark.createDataFrame([(path,) for path in part], "path string")
        rows = rows.repartition(-(-len(part) // options.per_task))
        rows.mapInPandas(answer, schema).write.mode("append").parquet(str(options.answers))
    spark.stop()


if __name__ == "__main__":
    main()
