-- Old events are pruned by when their row was written, which PostgreSQL's own clock says: when a record was appended
-- is the broker's word, or, where the topic has message.timestamp.type=CreateTime, its producer's.
-- Both statements change the catalogue alone, however large the table is. Rows of before have none, and count by
-- their append; a worker of before gets the default. The index is made beside the migrations, without a lock.
ALTER TABLE events ADD COLUMN recorded_at timestamptz;
ALTER TABLE events ALTER COLUMN recorded_at SET DEFAULT now();

-- Where the topic ended when a device was forgotten, by partition: what stood before these offsets has no effect any
-- more, whatever time its producer wrote on it.
ALTER TABLE forgotten_devices ADD COLUMN topic text;
ALTER TABLE forgotten_devices ADD COLUMN end_offsets bigint[];
