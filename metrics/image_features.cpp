#include "metrics/image_features.h"

#include "core/clock.h"
#include "core/error.h"
#include "models/inception/graph.h"

namespace tessera {
namespace {

void add_batch(ImageFeatures& found, const ImageStream::Batch& batch, const Extractor& extractor) {
  const Features features = extractor.features(batch.pixels);
  found.all.add(features.pool);
  if (found.pool) found.pool->add(features.pool);
  if (found.logits && features.logits.defined()) found.logits->add(features.logits);
  for (size_t i = 0; i < batch.labels.size(); ++i)
    found.rows_of_label[batch.labels[i]].push_back(found.all.count() - static_cast<int64_t>(batch.labels.size() - i));
}

}  // namespace

ImageFeatures measure_images(const std::vector<ImageSource>& sources, const Extractor& extractor,
                             const Protocol& protocol, const ImageSetOptions& options,
                             const std::function<void(int64_t files)>& done) {
  const Stopwatch stopwatch;
  const int64_t dims = extractor.info().dims;
  ImageFeatures found(dims);
  if (options.keep_features) found.pool = std::make_unique<FeatureStore>(dims);
  if (options.keep_logits) found.logits = std::make_unique<FeatureStore>(kInceptionClasses);
  ImageStream stream(sources, protocol,
                     {.side = options.side,
                      .threads = options.threads,
                      .skip_unreadable = options.skip_unreadable,
                      .matrix = options.matrix,
                      .arrays = options.arrays});
  for (ImageStream::Batch batch; stream.next(options.batch, batch); done(batch.sources)) {
    const bool failed = !options.skip_unreadable && !stream.unreadable().empty();
    if (failed || !batch.pixels.defined()) continue;  // a failed run only looks for further damaged files
    add_batch(found, batch, extractor);
    if (options.keep_names) found.names.insert(found.names.end(), batch.names.begin(), batch.names.end());
  }
  found.unreadable = stream.unreadable();
  found.videos = stream.videos();
  if (!found.unreadable.empty() && !options.skip_unreadable)
    throw Error(words_of_unreadable(found.unreadable, sources.size(), "files"));
  if (found.all.count() == 0)
    throw Error("none of " + std::to_string(sources.size()) + " files can be read:" + list_of(found.unreadable));
  found.seconds = stopwatch.seconds();
  return found;
}

}  // namespace tessera
