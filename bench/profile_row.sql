-- All that the profile has of every customer. The counts make sure that all is computed.
SELECT format('SELECT %s FROM retention.profile', string_agg(format('count(%I)', attname), ', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = 'retention.profile'::regclass AND attnum > 0 AND NOT attisdropped \gexec
