-- What caused a validation: what the event of its end says of its cause if nobody runs it. By the names of `Cause`; NULL:
-- it was asked for before.
ALTER TABLE validations ADD COLUMN cause jsonb;
