"""UID2 enrichment: the e-mails and phones of an audience go to an operator, the raw UIDs come back as events (domain.md 15).

rule.py says what may be asked and what an answer becomes, rule_sql.py the same in SQL, operator.py asks, run.py does it.
"""
