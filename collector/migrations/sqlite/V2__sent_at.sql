-- When the batch that brought the report was sent, by the agent's clock, in microseconds since 1970; NULL where the agent did
-- not tell. Beside `received_at_us` it says how far the two clocks are apart.
ALTER TABLE run ADD COLUMN sent_at_us INTEGER;
