// Prints what the encoder gives for one text, a number a line: example FOLDER ID ID ...
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "encoder.hpp"

int main(int argc, char **argv) {
  if (argc < 3) {
    std::fprintf(stderr, "example FOLDER TOKEN_ID ...\n");
    return 2;
  }
  try {
    nasc::Encoder encoder(argv[1]);
    std::vector<int64_t> ids;
    for (int i = 2; i < argc; i++) ids.push_back(std::strtoll(argv[i], nullptr, 10));
    const std::vector<int64_t> mask(ids.size(), 1);
    for (float value : encoder.run(ids, mask, static_cast<int>(ids.size()))) {
      std::printf("%.9g\n", value);
    }
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
