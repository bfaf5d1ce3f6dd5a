// A check that ends the program at the first failed line, and the plugin's messages as they come.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

inline std::string last_message;

inline void collect(char const* message) { last_message = message; }

// Whether the last message has `part`; forgets it.
inline bool logged(char const* part) {
    bool const found = last_message.find(part) != std::string::npos;
    if (!found) {
        std::fprintf(stderr, "expected '%s' in the log, which has '%s'\n", part, last_message.c_str());
    }
    last_message.clear();
    return found;
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(                                                                                              \
                stderr, "%s:%d: %s\nlast message: %s\n", __FILE__, __LINE__, #condition, last_message.c_str());        \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)
