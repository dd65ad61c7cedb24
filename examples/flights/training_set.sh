#!/bin/sh
# The tables of the folder $1 become dataset versions, and the training set that is joined from them a CSV file in $2; beside
# it `dataset` says which dataset version that is, for train.py to tell.
set -eu
for table in flights weather planes route_rates carrier_rates; do
  trueline data add "$1/$table.csv" --name "$table"
done
trueline features apply features.yaml
dataset=training@$(trueline features join flights --name training --timestamp event_time \
  --view weather --view planes --view route_rates --view carrier_rates)
mkdir -p "$2"
got=$(trueline data get "$dataset" --to "$2" --csv)
[ "$got" = "$2/data.csv" ] || mv "$got" "$2/data.csv"
echo "$dataset" > "$2/dataset"
