// A class of the library's with virtual functions.
#pragma once

class Shape {
public:
    virtual ~Shape();
    virtual long keep(long value);
    virtual long twice();
    virtual long corners();

protected:
    long *kept = nullptr;
};

// One of a class that only the library knows.
Shape *stock_square();
