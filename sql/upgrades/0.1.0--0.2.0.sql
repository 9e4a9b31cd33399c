-- Changes tables, types, triggers and the like from 0.1.0 to 0.2.0. README.md says what goes where.

-- [functions and views]
