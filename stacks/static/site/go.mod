module corefn/site

go 1.19
