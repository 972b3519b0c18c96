#!/usr/bin/env bash
# Three messy files become customers, and leave for a server on this machine (docs/messy-files.md).
# It needs no terminal. Run it in the folder that has sample_data/: it makes messy.duckdb there.
set -euo pipefail
files=sample_data/messy
export PROFILECTL_STORE=messy.duckdb

# What do the columns become? The file says first which encoding to try.
profilectl columns "$files/contacts.csv" --encoding windows-1252 --skip-lines 2
profilectl columns "$files/warehouse.parquet" "$files/app.jsonl"

# Where each source has its own customer number, the e-mail address has to join them.
profilectl --quiet config set identity.strategy=best-match

# The contacts. The feed remembers how its files are read. 3: rows were rejected, here the footer.
profilectl --quiet import "$files/contacts.csv" --feed crm --source csv --remember \
  --encoding windows-1252 --skip-lines 2 --rejects contacts.rejects.jsonl \
  --map "Contact ID=customer_id" --map "E-Mail Address=email" \
  --map "Mobile Phone=mobile_number" --map 'First Name=$FirstName' --map 'Last Name=$LastName' \
  || test $? -eq 3

# The warehouse. Its key is a number of its own: `other`, not the customer's number.
profilectl --quiet import "$files/warehouse.parquet" --feed warehouse --max-shared 2 \
  --map customer_key=other --map email_address=email \
  --map 'name.first=$FirstName' --map 'name.last=$LastName'

# The app. Who did not sign in is nobody: such rows are counted.
profilectl --quiet import "$files/app.jsonl" --feed app --map userId=email --rejects none \
  || test $? -eq 3

# Is it what was expected? 300 people, of whom the warehouse and the contacts share 180.
profilectl --quiet check
profilectl --json stats > stats.json
python3 -c 'import json; assert json.load(open("stats.json"))["profiles"] == 300'

# Everybody with a plan leaves for a server.
python3 sample_data/sink.py received.jsonl > address
printf 'key = "k"\nsecret = "s"\n' > push.toml && chmod 600 push.toml
profilectl --quiet push --where 'properties.plan.name exists' \
  --host "$(cat address)" --credentials push.toml
