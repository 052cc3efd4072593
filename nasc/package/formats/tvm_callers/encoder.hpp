// The encoder of this folder, from C++: encoder.h with a destructor, exceptions and vectors.
#ifndef NASC_ENCODER_HPP
#define NASC_ENCODER_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "encoder.h"

namespace nasc {

class Encoder {
 public:
  // Opens model.so of a folder; see nasc_encoder_open. Throws std::runtime_error.
  explicit Encoder(const std::string &folder, int threads = 1)
      : encoder_(nasc_encoder_open(folder.c_str(), threads), nasc_encoder_close) {
    if (!encoder_) throw std::runtime_error(nasc_encoder_error());
  }

  // The first output of texts of `seq_len` tokens each; see nasc_encoder_run. Throws
  // std::runtime_error, and std::invalid_argument where ids and mask are of other sizes.
  std::vector<float> run(const std::vector<int64_t> &ids, const std::vector<int64_t> &mask,
                         int seq_len) {
    if (seq_len < 1 || ids.size() != mask.size() || ids.size() % seq_len != 0) {
      throw std::invalid_argument("ids and mask must both be (batch, seq_len)");
    }
    const int batch = static_cast<int>(ids.size()) / seq_len;
    std::vector<float> output(nasc_encoder_numbers(batch, seq_len));
    if (nasc_encoder_run(encoder_.get(), ids.data(), mask.data(), batch, seq_len, output.data())) {
      throw std::runtime_error(nasc_encoder_error());
    }
    return output;
  }

 private:
  std::unique_ptr<nasc_encoder, void (*)(nasc_encoder *)> encoder_;
};

}  // namespace nasc
#endif
