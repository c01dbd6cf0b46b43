DROP TABLE cities, regions, countries;
